"""Replaces the trainer on a board: writes its records and result without TensorFlow and training, an epoch a second.

Python imports it where it is on PYTHONPATH. The supervisor, its environment and all that the playbooks do stay as they
are; so what they take can be measured with more boards than this machine has cores for.
"""

import os
import sys
import time
from pathlib import Path

_STEPS = 4  # of an epoch


def _train(config: Path) -> None:
    sys.path.insert(0, str(Path.cwd()))  # the trainer's source: where the supervisor starts it
    from trainer.contract.cluster import load_cluster
    from trainer.contract.events import End, Epoch, Start, Window
    from trainer.contract.records import EventLog
    from trainer.contract.run import load_run
    from trainer.supervise.result import write_result

    started_s = time.time()
    folder, run = config.parent, load_run(config)
    cluster = load_cluster(folder / "tf_config.json")
    log = EventLog(folder / "events.jsonl")
    log.write(
        Start(
            board=run.boards[cluster.rank],
            rank=cluster.rank,
            workers=run.workers,
            trainable_parameters=1,
            total_parameters=1,
            gradient_bytes=4,
            steps_per_epoch=_STEPS,
            board_batch=1,
            train_images=_STEPS,
            validation_images=1,
            classes=1,
            synthetic=True,
            sync="none",
            collective_asked=None,
            precision="float32",
            xla="none",
            cache_features_s=None,
            interface=None,
            startup_s=_age_s(),
        )
    )
    log.progress()
    print("The stand-in begins.", flush=True)  # every trainer's log has a line
    for epoch in range(1, run.config.epochs + 1):
        for step in range(_STEPS):
            time.sleep(1 / _STEPS)
            log.write(
                Window(
                    epoch=epoch,
                    first_step=step,
                    steps=1,
                    images=1,
                    elapsed_s=1 / _STEPS,
                    loss=1.0,
                    accuracy=0.5,
                    learning_rate=0.001,
                    compute_s=1 / _STEPS,
                    communication_s=0.0,
                    waiting_s=0.0,
                    overlapped_s=0.0,
                    sent_bytes=None,
                    received_bytes=None,
                    payload_bytes=0,
                )
            )
        log.write(
            Epoch(
                epoch=epoch,
                steps=_STEPS,
                images=_STEPS,
                train_s=1.0,
                validation_s=0.0,
                epoch_s=1.0,
                loss=1.0,
                accuracy=0.5,
                val_loss=1.0,
                val_accuracy=0.5,
                learning_rate=0.001,
                communication_s=0.0,
                waiting_s=0.0,
                sent_bytes=None,
                received_bytes=None,
                payload_bytes=0,
            )
        )
    log.write(End(epochs=run.config.epochs, train_s=float(run.config.epochs), total_s=time.time() - started_s))
    log.close()
    write_result(folder, status="succeeded", cause=None, exit_code=0, started_s=started_s)


def _age_s() -> float:
    """Seconds since this process began."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


_words = Path("/proc/self/cmdline").read_bytes().decode().split("\0")
if _words[1:4] == ["-m", "trainer", "--config"]:
    _train(Path(_words[4]))
    os._exit(0)
