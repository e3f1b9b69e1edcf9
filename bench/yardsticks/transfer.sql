-- A transfer as SQL alone, for pgbench: lock both accounts, check funds, two balances, two entries, one commit.
-- Given is the number of :accounts; their ids end in their number.
\set source random(0, :accounts - 1)
\set target (:source + random(1, :accounts - 1)) % :accounts
\set amount random(1, 3)
BEGIN;
WITH locked AS (
    SELECT id, balance FROM accounts
    WHERE id IN (
        ('00000000-0000-4000-8000-' || lpad(:source::text, 12, '0'))::uuid,
        ('00000000-0000-4000-8000-' || lpad(:target::text, 12, '0'))::uuid
    )
    ORDER BY id FOR NO KEY UPDATE
)
SELECT balance AS funds FROM locked
WHERE id = ('00000000-0000-4000-8000-' || lpad(:source::text, 12, '0'))::uuid \gset
\if :funds >= :amount
UPDATE accounts SET balance = balance - :amount
WHERE id = ('00000000-0000-4000-8000-' || lpad(:source::text, 12, '0'))::uuid;
UPDATE accounts SET balance = balance + :amount
WHERE id = ('00000000-0000-4000-8000-' || lpad(:target::text, 12, '0'))::uuid;
INSERT INTO ledger_entries (movement_id, account_id, currency, amount, entered_at)
SELECT movement, account, 'EUR', amount, now()
FROM (SELECT gen_random_uuid()) AS made (movement),
    (VALUES
        (('00000000-0000-4000-8000-' || lpad(:source::text, 12, '0'))::uuid, -(:amount)::bigint),
        (('00000000-0000-4000-8000-' || lpad(:target::text, 12, '0'))::uuid, (:amount)::bigint)
    ) AS legs (account, amount);
\endif
COMMIT;
