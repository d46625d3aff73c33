"""Every watch of the operator, one module for each kind of object. A handler delegates, and does no I/O."""
