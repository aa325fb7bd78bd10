"""Makes an all-reduce with NCCL over all boards: `PYTHON - REQUEST < all_reduce.py`, on all of them at once.

Runs in the boards' Python environment. The request (JSON) has: addresses (ip:port in rank order), rank, and interface
(of the training network). TensorFlow's log, which names the collective that ran, goes to standard error.
"""

import json
import os
import sys
import time

request = json.loads(sys.argv[1])
for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[name]  # gRPC would use them; see trainer/supervise/environment.py
cluster = {"worker": request["addresses"]}
os.environ.update(
    TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": "worker", "index": request["rank"]}}),
    TF_CPP_MIN_LOG_LEVEL="0",
    TF_CPP_VMODULE="collective_param_resolver_local=1",
    TF_FORCE_GPU_ALLOW_GROWTH="true",
    NCCL_SOCKET_IFNAME=f"={request['interface']}",
)

import tensorflow as tf  # noqa: E402 (which reads the environment)

experimental = tf.distribute.experimental
options = experimental.CommunicationOptions(implementation=experimental.CommunicationImplementation.NCCL)
strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


@tf.function
def summed() -> tf.Tensor:
    return strategy.run(lambda: tf.distribute.get_replica_context().all_reduce("SUM", tf.ones([1024])))


found = float(strategy.experimental_local_results(summed())[0][0])
if found != len(request["addresses"]):
    sys.exit(f"the sum of {len(request['addresses'])} ones is {found}")
time.sleep(1)  # another board may still be receiving from this one
os._exit(0)  # TensorFlow's workers would wait for each other
