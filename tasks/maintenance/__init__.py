"""Maintenance: prove that the books and the documents are right, forget what is old, report the day."""

from tasks.maintenance.daily import DailyReport, daily_report
from tasks.maintenance.documents import ReconcileDocuments, reconcile_documents
from tasks.maintenance.ledger import ReconcileLedger, reconcile_ledger
from tasks.maintenance.pruning import Prune, prune

__all__ = [
    "DailyReport",
    "Prune",
    "ReconcileDocuments",
    "ReconcileLedger",
    "daily_report",
    "prune",
    "reconcile_documents",
    "reconcile_ledger",
]
