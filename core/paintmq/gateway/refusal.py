"""A request that is not served, with the status that says why."""


class RefusedRequestError(Exception):
    """The request is answered with a refusal, and does nothing else."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, headers
