"""``python3 -m lab.replication.provider --config FILE``."""

from lab.replication.common.service import run_service
from lab.replication.provider.provider import Provider

if __name__ == "__main__":
    run_service("provider", Provider)
