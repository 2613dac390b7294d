"""Loads the TLS extension when an application first asks for a TLS context, and has the contexts made.

The workers ask and the main thread calls look(): it may import, read files, and take the time for that. OpenSSL's
libraries come with the extension, so a server that uses no TLS has none of it in memory.
"""


def look(engine):
    """Answer the workers that wait for TLS contexts."""
    if not engine.tls_wanted():
        return
    try:
        from . import _tls

        engine.tls_answer(_tls.table)
    except ImportError as error:
        engine.tls_refuse(f"TLS is not available: {error}")
