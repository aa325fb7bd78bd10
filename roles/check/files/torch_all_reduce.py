"""Makes an all-reduce with torch.distributed over all boards: `PYTHON - REQUEST < torch_all_reduce.py`, on all at once.

Runs in the boards' environment with PyTorch. The request (JSON) has: addresses (ip:port in rank order), rank, and
interface (of the training network). The last line of standard error says what is wrong.
"""

import json
import os
import socket
import sys
from datetime import timedelta

request = json.loads(sys.argv[1])
os.environ["GLOO_SOCKET_IFNAME"] = request["interface"]

import torch  # noqa: E402 (which reads the environment)
import torch.distributed as dist  # noqa: E402

if not dist.is_available():
    sys.exit(f"PyTorch {torch.__version__} is built without torch.distributed")
count, rank, limit = len(request["addresses"]), request["rank"], timedelta(seconds=30)
host, _, port = request["addresses"][0].rpartition(":")
# the store's own server would listen on all interfaces
own = socket.create_server((host, int(port))).detach() if rank == 0 else None
store = dist.TCPStore(host, int(port), count, rank == 0, limit, master_listen_fd=own, use_libuv=False)
dist.init_process_group("gloo", store=store, rank=rank, world_size=count, timeout=limit)
ones = torch.ones(1024)
dist.all_reduce(ones)
dist.barrier()  # another board may still be receiving from this one
if float(ones[0]) != count:
    sys.exit(f"the sum of {count} ones is {float(ones[0])}")
dist.destroy_process_group()
