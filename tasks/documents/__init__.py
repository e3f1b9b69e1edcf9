"""Free-form documents: put, patch and delete them."""

from tasks.documents.putting import put
from tasks.documents.rules import COLLECTIONS, CollectionNotAllowed, DocumentInvalid
from tasks.documents.writing import delete, patch

__all__ = ["COLLECTIONS", "CollectionNotAllowed", "DocumentInvalid", "delete", "patch", "put"]
