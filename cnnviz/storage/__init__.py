"""Files that are not this machine's: objects in buckets, behind URLs, and members of archives.

A file of this machine is a :class:`pathlib.Path`, and what is done with it stands where it always
stood. Any other is a :class:`cnnviz.storage.stored.Stored`. Folders behind URLs are
:class:`cnnviz.storage.remote.RemotePath`, through fsspec, which is imported when the first of them
is opened. What goes wrong is an :class:`OSError` whose ``strerror`` may be shown: it never holds
what may be secret in a URL.
"""
