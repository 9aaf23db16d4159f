"""The Azure side: a Recovery Services vault that merges replication logs into page blobs and makes machines of them."""
