"""``python3 -m lab.replication.process_server --config FILE``."""

import logging

from lab.replication.common.service import run_service
from lab.replication.process_server.server import ProcessServer

if __name__ == "__main__":
    # The library logs every request at this level, with addresses that carry signatures.
    logging.getLogger("azure").setLevel(logging.WARNING)
    run_service("process-server", ProcessServer)
