"""``python -m paintmq.worker.host FD PARENT`` runs a model host (``serve.py``)."""

from paintmq.worker.host.serve import main

if __name__ == "__main__":
    main()
