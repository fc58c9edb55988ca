"""The smallest program: a queue manager, one task, and the statistics of every queue."""

from paintmq import QueueManager, Task, TaskType

queue_manager = QueueManager()
queue_manager.start()
task = Task(task_type=TaskType.INPAINT, config={"model": "lama", "device": "cuda"})
selected_queue = queue_manager.route_task(task)  # "gpu-high"
result = queue_manager.send_task(selected_queue, task)  # truthy; .result(), .cancel(), .progress()
stats = queue_manager.get_queue_stats()  # every queue; get_queue_stats("gpu-high") for one
queue_manager.stop()
