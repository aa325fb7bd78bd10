"""A stand-in: an emulated board has no CUDA."""
