"""The pencil of the sample dataset: shapes, heads, scenery and the plan of a picture."""
