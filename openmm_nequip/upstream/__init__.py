"""Everything that this package borrows from the inside of other packages, one function for each thing.

A borrowed thing is a name that its owner does not promise to keep: a private attribute, an import hook, a caller's
variable. Each function says what it borrows, of which versions that is known, why there is no public way, and which
test watches over it; where the thing is gone it raises :class:`openmm_nequip.errors.UpstreamError` or falls back to
the public way, as its docstring says. No other module of this package touches private names of other packages.
"""
