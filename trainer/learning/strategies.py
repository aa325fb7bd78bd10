"""Builds TensorFlow's strategy of distribution that a run is configured with."""

from __future__ import annotations

import time

import tensorflow as tf

from trainer.contract import strategies
from trainer.contract.cluster import CHIEF, SERVER, WORKER, Cluster
from trainer.contract.config import Config
from trainer.contract.interface import listens

_IMPLEMENTATIONS = {
    "auto": tf.distribute.experimental.CommunicationImplementation.AUTO,
    "ring": tf.distribute.experimental.CommunicationImplementation.RING,
    "nccl": tf.distribute.experimental.CommunicationImplementation.NCCL,
}
# a smaller part of a variable is not worth a message of its own (TensorFlow's advice)
_LEAST_PART_BYTES = 256 << 10


def build(config: Config, cluster: Cluster) -> tf.distribute.Strategy:
    """The strategy under which the run trains; on several boards it starts this worker's server.

    Raises RuntimeError for `tpu` on a board without one.
    """
    name = config.strategy_on(cluster.workers)
    if name == strategies.NONE:
        return tf.distribute.get_strategy()  # the default strategy does nothing
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if name == "central_storage":
        return tf.distribute.experimental.CentralStorageStrategy()
    if name == strategies.TPU:
        return _tpu()
    if name == strategies.PARAMETER_SERVER:
        return _parameter_server(config, cluster)
    cluster.export()
    return tf.distribute.MultiWorkerMirroredStrategy(
        communication_options=tf.distribute.experimental.CommunicationOptions(
            implementation=_IMPLEMENTATIONS[config.sync.implementation],
            bytes_per_pack=config.sync.bytes_per_pack,
            timeout_seconds=config.sync.timeout_s or None,
        )
    )


def _tpu() -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError) as error:
        raise RuntimeError(f"strategy is tpu, but TensorFlow finds no TPU on this board ({error})") from error
    return tf.distribute.TPUStrategy(resolver)


def _parameter_server(config: Config, cluster: Cluster) -> tf.distribute.Strategy:
    """The chief's strategy; large variables are partitioned over the servers, the others dealt out in turn."""
    tf.config.set_visible_devices([], "GPU")  # the workers compute
    cluster.export_task(config.servers, CHIEF, 0)
    tasks = cluster.tasks(config.servers)
    for address in (*tasks[WORKER], *tasks[SERVER]):
        while not listens(address):  # the supervisor ends a run whose tasks never do
            time.sleep(0.1)
    return tf.distribute.ParameterServerStrategy(
        tf.distribute.cluster_resolver.TFConfigClusterResolver(rpc_layer="grpc"),
        variable_partitioner=tf.distribute.experimental.partitioners.MinSizePartitioner(
            _LEAST_PART_BYTES, max_shards=len(tasks[SERVER])
        ),
    )
