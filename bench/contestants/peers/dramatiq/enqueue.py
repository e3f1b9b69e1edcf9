"""Put orders into Dramatiq's queue: JSON lines on standard input."""

from app import transfer

from bench.work import orders_on_stdin

for order in orders_on_stdin():
    transfer.send(order.id, order.source, order.target, order.amount)
