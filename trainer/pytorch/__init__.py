"""The second engine: the same experiment, trained by PyTorch. Nothing else in the trainer imports PyTorch."""
