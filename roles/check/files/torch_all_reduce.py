"""Makes an all-reduce with torch.distributed over all boards: `PYTHON - REQUEST < torch_all_reduce.py`, on all at once.

Runs in the boards' environment with PyTorch. The request (JSON) has: addresses (ip:port in rank order), rank, and
interface (of the training network). The last line of standard error says what is wrong.
"""

import json
import os
import sys
from datetime import timedelta

request = json.loads(sys.argv[1])
os.environ["GLOO_SOCKET_IFNAME"] = request["interface"]

import torch  # noqa: E402 (which reads the environment)
import torch.distributed as dist  # noqa: E402

if not dist.is_available():
    sys.exit(f"PyTorch {torch.__version__} is built without torch.distributed")
count, chief = len(request["addresses"]), f"tcp://{request['addresses'][0]}"
dist.init_process_group("gloo", chief, timedelta(seconds=30), world_size=count, rank=request["rank"])
ones = torch.ones(1024)
dist.all_reduce(ones)
dist.barrier()  # another board may still be receiving from this one
if float(ones[0]) != count:
    sys.exit(f"the sum of {count} ones is {float(ones[0])}")
dist.destroy_process_group()
