"""A person's public SSH keys, which certificates are made for."""

import base64
import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, rsa
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from django.db import IntegrityError, transaction

from approvals.directory.models import PublicKey, User
from approvals.domain.refusals import Invalid, NotFound

MOST = 10
RSA_BITS_LEAST = 3072
TEXT_MOST = 8_000


def add(*, actor: User, text: str) -> PublicKey:
    """Keep a public key for its owner. Raises: Invalid, which says what is wrong with it."""
    line = " ".join(text.split())
    if "PRIVATE KEY" in text:
        raise Invalid(
            "This is a private key. Paste the public one (the file that ends in .pub), and make a "
            "new pair if others may have seen this one.",
            field="text",
            code="private_key",
        )
    words = line.split(" ", 2)
    if len(line) > TEXT_MOST or len(words) < 2 or "-cert-" in words[0]:
        raise Invalid("Paste one line such as “ssh-ed25519 AAAA… name”.", field="text")
    try:
        key = load_ssh_public_key(" ".join(words[:2]).encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Invalid("This is no public SSH key.", field="text") from error
    if isinstance(key, dsa.DSAPublicKey) or (
        isinstance(key, rsa.RSAPublicKey) and key.key_size < RSA_BITS_LEAST
    ):
        raise Invalid("This key is too weak: make one with ssh-keygen -t ed25519.", field="text")
    digest = hashlib.sha256(base64.b64decode(words[1])).digest()
    fingerprint = "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
    if PublicKey.objects.filter(person=actor).count() >= MOST:
        raise Invalid(f"You have {MOST} keys already: remove one first.", field="text")
    try:
        with transaction.atomic():
            return PublicKey.objects.create(
                person=actor, text=" ".join(words[:2]), fingerprint=fingerprint
            )
    except IntegrityError as error:
        raise Invalid("This key is in use already.", field="text") from error


def remove(*, actor: User, key_id: int) -> None:
    """Forget a key of theirs; certificates that were made for it live on. Raises: NotFound."""
    key = PublicKey.objects.filter(person=actor, pk=key_id).first()
    if key is None:
        raise NotFound("You have no such key.")
    key.delete()


def of(person: User) -> list[PublicKey]:
    """Return a person's keys, newest first."""
    return list(PublicKey.objects.filter(person=person).order_by("-id"))


def lines(person_id: int) -> tuple[str, ...]:
    """Return the keys as connectors take them, newest first."""
    keys = PublicKey.objects.filter(person_id=person_id).order_by("-id")
    return tuple(keys.values_list("text", flat=True))
