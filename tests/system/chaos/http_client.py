"""As ``client.py``, by HTTP: threads that submit, fetch what comes of it, and write it down.

Usage: http_client.py NAME PORT JOURNAL TOKEN_FILE PAUSE. A request that fails is made again, to the
same gateway or to the next one: the idempotency key makes it the same task.
"""

import base64
import hashlib
import http.client
import itertools
import json
import sys
import threading
import time
from pathlib import Path

from task_plan import key_of, payload_of

THREADS = 8
PATIENCE = 10.0
"""Seconds that one request may take beyond what it asks to wait for."""


class Program:
    def __init__(self, name: str, port: int, journal: Path, token_file: Path, pause: float) -> None:
        self._name, self._port, self._journal = name, port, journal
        self._token_file, self._pause = token_file, pause * THREADS
        self._lock = threading.Lock()
        self._file = journal.open("a", buffering=1)
        self._stop = Path(f"{journal}.stop")
        self._again, self._next = self._taken_up()

    def run(self) -> None:
        threads = [threading.Thread(target=self._work) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _taken_up(self) -> tuple[list[int], "itertools.count[int]"]:
        """Return what an earlier process left unfinished, and the numbers that are new."""
        lines = [line.split() for line in self._journal.read_text().splitlines()]
        submitted = {int(line[1]) for line in lines if len(line) == 2 and line[0] == "submit"}
        ended = {int(line[1]) for line in lines if len(line) == 4 and line[0] == "end"}
        return sorted(submitted - ended), itertools.count(max(submitted, default=-1) + 1)

    def _work(self) -> None:
        while (number := self._number()) is not None:
            self._write(f"end {number} {self._outcome(number)}")
            time.sleep(self._pause)

    def _number(self) -> int | None:
        with self._lock:
            if self._again:
                return self._again.pop()
            if self._stop.exists():
                return None
            number = next(self._next)
            self._file.write(f"submit {number}\n")
            return number

    def _outcome(self, number: int) -> str:
        body = json.dumps(
            {
                "model": "chaos",
                "options": {"seconds": (number % 7) * 0.01},
                "inputs": {"data": base64.b64encode(payload_of(self._name, number)).decode()},
                "max_attempts": 20,
                "idempotency_key": key_of(self._name, number),
            }
        )
        task = ""
        while True:
            if not task:
                status, said = self._ask("POST", "/v1/tasks", body, wait=30.0)
                task = json.loads(said)["id"] if status == 202 else ""
                if task:  # the gateway makes ids; the judge sees that a key always gives the same
                    self._write(f"id {number} {task}")
            else:
                path = f"/v1/tasks/{task}/result?wait=5&output=digest"
                status, said = self._ask("GET", path, None, wait=5.0)
                if status == 200:
                    return f"succeeded {said.decode()}"
                if status == 404:
                    task = ""  # forgotten: submitted again, it is the same task
            if status not in (0, 200, 202, 404, 408, 429, 503, 504):
                return f"refused {status}:{hashlib.sha256(said).hexdigest()[:8]}"
            if status != 202:
                time.sleep(0.2)  # what is asked of a client that is told to come again

    def _ask(self, method: str, path: str, body: str | None, *, wait: float) -> tuple[int, bytes]:
        """Return status and body of the answer; 0: there was none."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=wait + PATIENCE)
        try:
            token = self._token_file.read_text().strip()
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def _write(self, line: str) -> None:
        with self._lock:
            self._file.write(line + "\n")


if __name__ == "__main__":
    Program(
        sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), float(sys.argv[5])
    ).run()
