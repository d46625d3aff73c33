"""Where rows come from, a file each.

A source has `identity(data, cache)`, all that its rows depend on: the fields of `data` that matter to it and a hash
of the file, of the package's data or of what was fetched; and `rows(data, cache)`, a `Series` per ticker. `npz_file`
gives samples in place of rows, because its files hold windows.
"""
