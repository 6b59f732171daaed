"""Certificates in requests, read."""

from __future__ import annotations

from isthmus.aws.context import Context
from isthmus.aws.service_error import ServiceError
from isthmus.core.x509 import Certificate
from isthmus.errors import InputError


def read_certificate(context: Context, pem: str) -> Certificate:
    """The certificate in a text; raises ServiceError where there is none that can be used."""
    try:
        return context.x509.read(pem)
    except InputError as error:
        raise ServiceError("CertificateValidationException", str(error)) from None
