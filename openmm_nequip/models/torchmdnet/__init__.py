"""TorchMD-Net: its checkpoints' facts, the pairs that its models are given, single models and ensembles."""
