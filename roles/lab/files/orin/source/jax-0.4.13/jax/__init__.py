raise ModuleNotFoundError("jax requires jaxlib to be installed")  # as jax itself, which TensorFlow does without
