"""What the database lets through when a person's content is erased, and what it goes on refusing.

A transaction may blank a column of a record only if it has itself written an `erase` entry into the
log that names this column for this row's own object, and only into the erased value: `[erased]`
for a text, `{}` for JSON, null, and zeros for a salt. All of it is read from the data: the entry's
transaction number, its bytes, the row. There is no switch. DELETE and TRUNCATE stay refused, and so
does an UPDATE in a transaction without such an entry, of whatever role.

`erase` entries are written by `audit_erase()` alone, which runs with its owner's rights, may be
called by the sealer, and wants an approved erasure: a row, which the application's role can insert.
That two people are behind it the sealer finds out before it calls (`audit.services.vouching`).
"""

from django.db.migrations.operations import RunSQL
from django.db.migrations.operations.base import Operation

#: What stands in a text that was erased; JSON becomes {}, other values null.
ERASED = "[erased]"

FUNCTIONS = r"""
-- Canonical entries end in their type and version. Only the owner's function writes such bytes.
CREATE FUNCTION audit_is_erasure(data bytea) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT substring(data FROM octet_length(data) - 20) = '"type":"erase","v":1}'::pg_catalog.bytea
$$;

CREATE FUNCTION audit_check_erase_entry() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  said jsonb := convert_from(NEW.data, 'UTF8')::jsonb;
  before bytea;
BEGIN
  IF NOT pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'USAGE')
  THEN
    RAISE EXCEPTION 'an erase entry is written by audit_erase() alone'
      USING ERRCODE = 'insufficient_privilege';
  END IF;
  SELECT data INTO before FROM audit_entry
    WHERE model = NEW.model AND object_id = NEW.object_id ORDER BY id DESC LIMIT 1;
  IF before IS NULL
    OR (said ->> 'model', said ->> 'id') IS DISTINCT FROM (NEW.model::text, NEW.object_id::text)
    OR said ->> 'prev' IS DISTINCT FROM encode(sha256(before), 'hex')
    OR said -> 'rev' IS DISTINCT FROM convert_from(before, 'UTF8')::jsonb -> 'rev'
    OR EXISTS (SELECT FROM jsonb_each_text(said -> 'fields') f WHERE f.value <> '')
  THEN
    RAISE EXCEPTION 'the erase entry does not follow the newest entry of % %',
      NEW.model, NEW.object_id USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER audit_entry_erase BEFORE INSERT ON audit_entry
  FOR EACH ROW WHEN (audit_is_erasure(NEW.data)) EXECUTE FUNCTION audit_check_erase_entry();
ALTER TABLE audit_entry ENABLE ALWAYS TRIGGER audit_entry_erase;

-- The names that erase entries of this very transaction have for an object. A sealed entry is of an
-- earlier one, even where a restore has made transaction numbers begin anew.
CREATE FUNCTION audit_erased_now(of_model text, of_object text, prefix text) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT coalesce(array_agg(substr(k, length(prefix) + 1)), '{}')
  FROM audit_entry e CROSS JOIN LATERAL
    jsonb_object_keys(convert_from(e.data, 'UTF8')::jsonb -> 'fields') k
  WHERE e.model = of_model AND e.object_id = of_object AND audit_is_erasure(e.data)
    AND e.xid IS NOT DISTINCT FROM pg_current_xact_id_if_assigned()
    AND NOT EXISTS (SELECT FROM audit_leaf l WHERE l.entry_id = e.id)
    AND starts_with(k, prefix)
$$;

CREATE FUNCTION audit_erases_now() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT EXISTS (SELECT FROM audit_entry e
    WHERE e.xid = pg_current_xact_id_if_assigned() AND audit_is_erasure(e.data)
      AND NOT EXISTS (SELECT FROM audit_leaf l WHERE l.entry_id = e.id))
$$;

CREATE FUNCTION audit_refuse_but_erasure() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND audit_erases_now() THEN
    RETURN NULL;  -- each row is looked at by its own trigger
  END IF;
  RAISE EXCEPTION 'append-only: % on % is refused', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'restrict_violation',
          HINT = 'Records are never changed. Insert the next revision instead.';
END $$;

-- Arguments: model|prefix|columns that make the object's id, with @ before one that is a moment.
CREATE FUNCTION audit_check_erased_row() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  was jsonb := to_jsonb(OLD);
  becomes jsonb := to_jsonb(NEW);
  spec text;
  parts text[];
  object text;
  named text[] := '{}';
  name text;
BEGIN
  FOREACH spec IN ARRAY TG_ARGV LOOP
    parts := string_to_array(spec, '|');
    SELECT string_agg(
        CASE WHEN part LIKE '@%' THEN to_char(
          (was ->> substr(part, 2))::timestamptz AT TIME ZONE 'UTC',
          'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        ELSE was ->> part END, '.' ORDER BY place)
      INTO object FROM unnest(string_to_array(parts[3], ',')) WITH ORDINALITY u(part, place);
    named := named || audit_erased_now(parts[1], object, parts[2]);
  END LOOP;
  FOR name IN SELECT jsonb_object_keys(becomes) LOOP
    CONTINUE WHEN (was -> name)::text = (becomes -> name)::text;
    IF name <> ALL (named) OR NOT (CASE
        WHEN jsonb_typeof(becomes -> name) = 'null' THEN true
        WHEN jsonb_typeof(was -> name) = 'string' THEN becomes -> name = '"[erased]"'
        WHEN jsonb_typeof(was -> name) IN ('object', 'array') THEN becomes -> name = '{}'
        ELSE false END)
    THEN
      RAISE EXCEPTION 'append-only: UPDATE of % on % is refused', name, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation',
              HINT = 'No erase entry of this transaction names it, or it is not erased by this.';
    END IF;
  END LOOP;
  RETURN NEW;
END $$;

-- Salts stand in the order of their entry's fields, 32 bytes each.
CREATE FUNCTION audit_salted_names(data bytea) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
  SELECT ARRAY(SELECT k FROM jsonb_object_keys(convert_from(data, 'UTF8')::jsonb -> 'fields') k
    ORDER BY k COLLATE "C")
$$;

CREATE FUNCTION audit_check_erased_salt() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  entry audit_entry%ROWTYPE;
  names text[];
  named text[];
  allowed boolean;
BEGIN
  SELECT * INTO entry FROM audit_entry WHERE id = OLD.entry_id;
  allowed := FOUND AND NEW.entry_id = OLD.entry_id
    AND octet_length(NEW.salts) = octet_length(OLD.salts);
  IF allowed THEN
    names := audit_salted_names(entry.data);
    named := audit_erased_now(entry.model, entry.object_id, '');
    allowed := octet_length(OLD.salts) = 32 * cardinality(names);
    FOR i IN 1 .. cardinality(names) LOOP
      EXIT WHEN NOT allowed;
      allowed := substring(NEW.salts FROM 32 * i - 31 FOR 32)
          = substring(OLD.salts FROM 32 * i - 31 FOR 32)
        OR (names[i] = ANY (named)
          AND substring(NEW.salts FROM 32 * i - 31 FOR 32) = decode(repeat('00', 32), 'hex'));
    END LOOP;
  END IF;
  IF NOT allowed THEN
    RAISE EXCEPTION 'append-only: UPDATE of salts on % is refused', TG_TABLE_NAME
      USING ERRCODE = 'restrict_violation',
            HINT = 'No erase entry of this transaction names them, or they are not zeroed by this.';
  END IF;
  RETURN NEW;
END $$;

-- Writes erase entries, blanks the columns of `rows` ([{"table", "key", "columns", "keys"}]) and
-- zeroes the salts of every earlier revision of the fields that the entries name: all or nothing.
CREATE FUNCTION audit_erase(
  erasure uuid, models text[], objects text[], entries bytea[], rows jsonb
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  part jsonb;
  tab regclass;
  assignments text;
  names text[];
BEGIN
  IF (SELECT e.event FROM audit_erasure e WHERE e.erasure_id = erasure
      ORDER BY e.revision DESC LIMIT 1) IS DISTINCT FROM 'approved' THEN
    RAISE EXCEPTION 'no approved erasure %', erasure USING ERRCODE = 'insufficient_privilege';
  END IF;
  INSERT INTO audit_entry (model, object_id, record_id, data)
    SELECT m, o, NULL, d FROM unnest(models, objects, entries) u(m, o, d);
  FOR part IN SELECT jsonb_array_elements(rows) LOOP
    tab := to_regclass('public.' || quote_ident(part ->> 'table'));
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = tab AND tgenabled = 'A'
        AND tgname = (part ->> 'table') || '_erase') THEN
      RAISE EXCEPTION 'nothing is erased in %', part ->> 'table'
        USING ERRCODE = 'insufficient_privilege';
    END IF;
    names := ARRAY(SELECT jsonb_array_elements_text(part -> 'columns'));
    SELECT string_agg(format('%I = %s', a.attname, CASE
        WHEN a.atttypid IN ('text'::regtype, 'varchar'::regtype) THEN '''[erased]'''
        WHEN a.atttypid = 'jsonb'::regtype THEN '''{}''' ELSE 'NULL' END), ', ')
      INTO assignments FROM pg_attribute a
      WHERE a.attrelid = tab AND a.attnum > 0 AND a.attname = ANY (names);
    EXECUTE format('UPDATE %s SET %s WHERE %I = ANY ($1)', tab, assignments, part ->> 'key')
      USING ARRAY(SELECT jsonb_array_elements_text(part -> 'keys')::bigint);
  END LOOP;
  UPDATE audit_salt s SET salts = (
      SELECT string_agg(CASE WHEN n = ANY (erased.names) THEN decode(repeat('00', 32), 'hex')
        ELSE substring(s.salts FROM (32 * place - 31)::int FOR 32) END, ''::bytea ORDER BY place)
      FROM unnest(audit_salted_names(e.data)) WITH ORDINALITY u(n, place))
    FROM audit_entry e JOIN (
      SELECT m, o, audit_salted_names(d) AS names FROM unnest(models, objects, entries) u(m, o, d)
    ) erased ON e.model = erased.m AND e.object_id = erased.o
    WHERE s.entry_id = e.id AND audit_salted_names(e.data) && erased.names;
END $$;
REVOKE EXECUTE ON FUNCTION audit_erase(uuid, text[], text[], bytea[], jsonb) FROM PUBLIC;
"""

DROP_FUNCTIONS = """
DROP FUNCTION audit_erase(uuid, text[], text[], bytea[], jsonb);
DROP TRIGGER audit_entry_erase ON audit_entry;
DROP FUNCTION audit_check_erase_entry();
DROP FUNCTION audit_check_erased_salt();
DROP FUNCTION audit_check_erased_row();
DROP FUNCTION audit_refuse_but_erasure();
DROP FUNCTION audit_erases_now();
DROP FUNCTION audit_erased_now(text, text, text);
DROP FUNCTION audit_salted_names(bytea);
DROP FUNCTION audit_is_erasure(bytea);
"""


def erasable(table: str, *objects: str, check: str = "audit_check_erased_row") -> Operation:
    """Return the operation that lets erasures blank columns of an append-only table.

    `objects` say under which object of the log a row stands: `model|prefix|columns`, with the
    columns that make the object's id (joined by dots; `@` before one that is a moment). With a
    prefix, the erase entry names the column by it: such rows only hang on that object.
    """
    arguments = ", ".join(f"'{each}'" for each in objects)
    forward = f"""
    DROP TRIGGER {table}_refuse ON {table};
    CREATE TRIGGER {table}_refuse BEFORE UPDATE OR DELETE ON {table}
      FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_but_erasure();
    CREATE TRIGGER {table}_erase BEFORE UPDATE ON {table}
      FOR EACH ROW EXECUTE FUNCTION {check}({arguments});
    ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_refuse;
    ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_erase;
    """
    backward = f"""
    DROP TRIGGER {table}_erase ON {table};
    DROP TRIGGER {table}_refuse ON {table};
    CREATE TRIGGER {table}_refuse BEFORE UPDATE OR DELETE ON {table}
      FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
    ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_refuse;
    """
    return RunSQL(forward, backward)
