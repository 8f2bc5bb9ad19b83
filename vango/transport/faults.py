"""What went wrong with a connection, in a sentence: here socket, TLS and name errors become TransportError.

A sentence names the kind of failure and no address: it reaches callers, who may not know where this server connects to.
"""

from __future__ import annotations

import errno
import socket
import ssl

from vango.errors import TransportError

_BY_ERRNO = {
    errno.ECONNREFUSED: "The provider refused the connection.",
    errno.ECONNRESET: "The provider reset the connection.",
    errno.EPIPE: "The provider reset the connection.",
    errno.ECONNABORTED: "The provider reset the connection.",
    errno.ETIMEDOUT: "The connection to the provider timed out.",
    errno.EHOSTUNREACH: "The provider's network cannot be reached.",
    errno.ENETUNREACH: "The provider's network cannot be reached.",
    errno.ENETDOWN: "The provider's network cannot be reached.",
    errno.EADDRNOTAVAIL: "This server has no port left for another connection to the provider.",
    errno.EMFILE: "This server has no file descriptor left for another connection.",
    errno.ENFILE: "This server has no file descriptor left for another connection.",
}

# X.509 verification codes, as in OpenSSL's x509_vfy.h.
_BY_VERIFY_CODE = {
    9: "The provider's TLS certificate is not valid yet.",
    10: "The provider's TLS certificate has expired.",
    23: "The provider's TLS certificate has been revoked.",
    62: "The provider's TLS certificate is for another host.",
    64: "The provider's TLS certificate is for another host.",
}


def transport_error(fault: Exception, *, stale: bool = False) -> TransportError:
    """Return the TransportError that says what kind of failure `fault` is."""
    return TransportError(_sentence(fault), stale=stale)


def _sentence(fault: Exception) -> str:
    match fault:
        case socket.gaierror(errno=socket.EAI_AGAIN):
            return "The provider's name cannot be looked up at present."
        case socket.gaierror() | UnicodeError():
            return "The provider's name was not found."
        case ssl.SSLCertVerificationError():
            return _BY_VERIFY_CODE.get(fault.verify_code, "The provider's TLS certificate is not trusted.")
        case ssl.SSLEOFError():
            return "The provider ended the TLS connection early."
        case ssl.SSLError():
            return f"The TLS connection to the provider failed ({fault.reason or 'no reason given'})."
        # Every address failed: the last failure is the one that the others were waiting for.
        case OSError(errno=None, __cause__=ExceptionGroup(exceptions=(*_, Exception() as last))):
            return _sentence(last)
        case OSError():
            return _BY_ERRNO.get(fault.errno or 0, "The connection to the provider failed.")
        case _:
            return "The provider's address cannot be connected to."
