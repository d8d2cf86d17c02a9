"""Teacher and student under occlusion (Georgescu et al., arXiv 2008.01003 and 2111.10561)."""
