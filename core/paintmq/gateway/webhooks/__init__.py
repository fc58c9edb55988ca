"""Webhooks: a request to an address that a task's submitter named, once the task has ended.

Rule 1: only hosts that the operator allows are called (``http.webhook_hosts``), at addresses that
were checked after the name was resolved, and no redirect is followed.
Rule 2: a webhook is a file from before its task's submission is answered until long after it was
delivered, so neither a restart nor a crash loses one. It may be delivered twice after a crash;
receivers know it by its id.
Rule 3: it is tried again with growing pauses, a fixed number of times; how it stands is told with
its task.
"""
