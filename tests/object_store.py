"""An S3-compatible server on this machine (moto's), which can be stopped and started again without losing what it holds."""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import urllib.request
from typing import Any


def free_port() -> int:
    """Return a port that nobody has, below those that the system hands out: nobody gets it by chance before it is used."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as taken, contextlib.suppress(OSError):
            taken.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


class ObjectStore:
    """A running server with one bucket, called bucket. What it holds is in this process, so it outlives a stop."""

    def __init__(self) -> None:
        self.port = free_port()
        self.start()
        request = urllib.request.Request(f"{self.address}/bucket", method="PUT", headers={"Host": "s3.amazonaws.com"})
        with urllib.request.urlopen(request, timeout=30):
            pass

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.server: Any = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self.server.start()

    def stop(self) -> None:
        self.server.stop()

    def environment(self) -> dict[str, str]:
        """Return what tells pyarrow where it is, and who asks."""
        return {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "secret/with/slashes",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
