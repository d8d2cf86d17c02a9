"""The parts that make answers of the encoder's tokens: queries, decoders, interpreters, heads of Naive Faceptor."""
