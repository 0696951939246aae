"""Objectives and bounds: pure functions of tensors."""
