"""Free-form documents: put, patch and delete them."""

from tasks.documents.rules import COLLECTIONS, CollectionNotAllowed, DocumentInvalid
from tasks.documents.writing import delete, patch, put

__all__ = ["COLLECTIONS", "CollectionNotAllowed", "DocumentInvalid", "delete", "patch", "put"]
