"""Faceptor (ECCV 2024): one encoder, task queries and two decoders answer every question about a face."""
