"""A made-up world: faces that know their landmarks, regions, ages, expressions, attributes and identities."""
