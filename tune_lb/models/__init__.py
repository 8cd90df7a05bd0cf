"""Networks. A model is any callable (input_shape, num_classes) -> nn.Module; one family per file."""
