"""``python3 -m lab.replication.process_server --config FILE``."""

from lab.replication.common.service import run_service
from lab.replication.process_server.server import ProcessServer

if __name__ == "__main__":
    run_service("process-server", ProcessServer)
