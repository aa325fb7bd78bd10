"""Training with TensorFlow and its Keras 2."""

import importlib.util
import os

# TensorFlow 2.16 and newer bring Keras 3, which does not train under MultiWorkerMirroredStrategy, and take tf-keras,
# which is Keras 2, if this says so when Keras is first used.
if importlib.util.find_spec("tf_keras"):
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
