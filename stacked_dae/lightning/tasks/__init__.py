"""The LightningModules of pre-training and fine-tuning."""
