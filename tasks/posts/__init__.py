"""Posts: write, change, publish, remove and find them."""

from tasks.posts.searching import Search, search
from tasks.posts.writing import Create, Delete, Publish, Update, create, delete, publish, update

__all__ = [
    "Create",
    "Delete",
    "Publish",
    "Search",
    "Update",
    "create",
    "delete",
    "publish",
    "search",
    "update",
]
