-- The quick start's target: a shop's database. Run once in the empty database `orders`, as a
-- superuser, after orders_roles.sql. Always makes the same rows.

REVOKE ALL ON DATABASE orders FROM PUBLIC;
GRANT CONNECT ON DATABASE orders
    TO alice, bob, carol, erin, dora,
    diego, ingrid, liam, marta, mei, nadia, priya, ruth, sofia, tariq, tomasz, yuki,
    jitportal_connector, orders_read, orders_rw, orders_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO PUBLIC;  -- so that people hear "permission denied", not "no table"
ALTER SCHEMA public OWNER TO orders_owner;

SET ROLE orders_owner;

CREATE TABLE customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL UNIQUE,
    city text NOT NULL,
    country char(2) NOT NULL,
    registered_at timestamptz NOT NULL
);
CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES customers,
    placed_at timestamptz NOT NULL,
    status text NOT NULL CHECK (status IN ('placed', 'paid', 'shipped', 'delivered', 'returned')),
    total_cents integer NOT NULL CHECK (total_cents > 0),
    currency char(3) NOT NULL DEFAULT 'EUR',
    note text NOT NULL DEFAULT ''
);
CREATE INDEX orders_customer ON orders (customer_id);
CREATE TABLE refunds (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES orders,
    amount_cents integer NOT NULL CHECK (amount_cents > 0),
    reason text NOT NULL,
    refunded_at timestamptz NOT NULL
);
CREATE INDEX refunds_order ON refunds (order_id);
CREATE TABLE card_data (
    customer_id bigint PRIMARY KEY REFERENCES customers,
    holder text NOT NULL,
    brand text NOT NULL,
    number_ending char(4) NOT NULL,
    expires_on date NOT NULL,
    processor_token text NOT NULL UNIQUE
);

INSERT INTO customers (name, email, city, country, registered_at)
SELECT
    given || ' ' || family,
    lower(given || '.' || family) || n || '@example.com',
    (ARRAY['Lisbon', 'Leipzig', 'Lyon', 'Ghent', 'Graz', 'Turin', 'Cork', 'Malmö'])[1 + n % 8],
    (ARRAY['PT', 'DE', 'FR', 'BE', 'AT', 'IT', 'IE', 'SE'])[1 + n % 8],
    timestamptz '2025-01-07 08:00Z' + n * interval '1 day 5 hours 13 minutes'
FROM generate_series(1, 120) AS n,
    LATERAL (SELECT
        (ARRAY['Ada', 'Bruno', 'Chiara', 'Dmitri', 'Elif', 'Femke', 'Goran', 'Hanna', 'Ines',
               'Jonas', 'Katja', 'Luis', 'Mira', 'Noor', 'Oskar'])[1 + n * 7 % 15] AS given,
        (ARRAY['Almeida', 'Bauer', 'Conti', 'Dubois', 'Eriksson', 'Fischer', 'Gallagher',
               'Haddad', 'Ivanova', 'Janssens', 'Kowalski'])[1 + n * 5 % 11] AS family) AS names;

INSERT INTO orders (customer_id, placed_at, status, total_cents, note)
SELECT
    1 + n * 37 % 120,
    timestamptz '2025-09-01 06:30Z' + n * interval '17 hours 41 minutes',
    CASE
        WHEN n > 470 THEN 'placed'
        WHEN n > 450 THEN 'paid'
        WHEN n > 420 THEN 'shipped'
        WHEN n % 19 = 0 THEN 'returned'
        ELSE 'delivered'
    END,
    990 + n * 7919 % 24000,
    CASE WHEN n % 23 = 0 THEN 'Leave with the neighbour' ELSE '' END
FROM generate_series(1, 480) AS n;

INSERT INTO refunds (order_id, amount_cents, reason, refunded_at)
SELECT
    id,
    CASE WHEN id % 2 = 0 THEN total_cents ELSE greatest(total_cents / 2, 1) END,
    (ARRAY['Arrived broken', 'Wrong size', 'Too late', 'Changed their mind'])[1 + id % 4],
    placed_at + interval '9 days'
FROM orders
WHERE status = 'returned' OR id % 17 = 0;

INSERT INTO card_data (customer_id, holder, brand, number_ending, expires_on, processor_token)
SELECT
    id,
    upper(name),
    (ARRAY['Visa', 'Mastercard', 'Amex'])[1 + id % 3],
    lpad((id * 7331 % 10000)::text, 4, '0'),
    date '2027-01-31' + (id % 36)::integer * 30,
    'tok_' || md5('jitportal demo ' || id)
FROM customers
WHERE id % 5 <> 0;

GRANT SELECT ON customers, orders, refunds TO orders_read;
GRANT SELECT, INSERT, UPDATE, DELETE ON customers, orders, refunds TO orders_rw;

RESET ROLE;
