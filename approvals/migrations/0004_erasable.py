"""What of the portal's records an erasure may blank, and how a person's own row becomes neutral.

A notice has no entry of its own: it hangs on its request, or on the person whom it went to.
"""

from typing import ClassVar

from django.db import migrations

from audit.models.erasable import erasable

HISTORIES = ("user", "group", "membership", "resource", "entitlement", "policy")

PERSON = """
-- Makes a person's own row neutral and clears what mutable tables hold of them; returns the row of
-- history that it writes. Only where this very transaction erases the person in the log. `words`
-- are what they were called: lines of the admin's log that hold one are blanked.
CREATE FUNCTION approvals_erase_person(person bigint, words text[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  was approvals_user%ROWTYPE;
  columns text;
  made bigint;
BEGIN
  IF cardinality(audit_erased_now('user', person::text, '')) = 0 THEN
    RAISE EXCEPTION 'person % is not being erased', person USING ERRCODE = 'insufficient_privilege';
  END IF;
  SELECT * INTO STRICT was FROM approvals_user WHERE id = person FOR UPDATE;
  UPDATE approvals_user SET username = 'erased-' || left(replace(uid::text, '-', ''), 8),
      name = '[erased]', email = '', title = '', timezone = '', password = '!', manager_id = NULL,
      is_active = false
    WHERE id = person;
  SELECT string_agg(quote_ident(h.attname), ', ') INTO columns
    FROM pg_attribute h JOIN pg_attribute u ON u.attname = h.attname
    WHERE h.attrelid = 'approvals_historicaluser'::regclass AND h.attnum > 0 AND NOT h.attisdropped
      AND u.attrelid = 'approvals_user'::regclass AND u.attnum > 0 AND NOT u.attisdropped;
  EXECUTE format('INSERT INTO approvals_historicaluser
      (%1$s, history_date, history_change_reason, history_type)
    SELECT %1$s, clock_timestamp(), ''erased'', ''~'' FROM approvals_user WHERE id = $1
    RETURNING history_id', columns) INTO made USING person;

  -- What is erased of the approval, the pointer doesn't keep either.
  UPDATE approvals_currentrequest c SET lease = '' FROM approvals_accessrequest r
    WHERE r.id = c.record_id AND r.target = '{}' AND c.lease <> ''
      AND (c.requester_id = person OR c.subject_id = person);
  DELETE FROM approvals_handover WHERE request_id IN (
    SELECT request_id FROM approvals_currentrequest
    WHERE requester_id = person OR subject_id = person);
  DELETE FROM account_emailconfirmation c USING account_emailaddress a
    WHERE a.id = c.email_address_id AND a.user_id = person;
  DELETE FROM account_emailaddress WHERE user_id = person;

  DELETE FROM approvals_outboxitem WHERE topic = 'notice.send' AND (
    payload ->> 'recipient' = person::text OR payload ->> 'request_id' IN (
      SELECT request_id::text FROM approvals_currentrequest
      WHERE requester_id = person OR subject_id = person));
  UPDATE approvals_outboxitem
    SET payload = jsonb_set(payload, '{keys}', (payload -> 'keys') - ('l:' || lower(was.username)))
    WHERE topic = 'directory.changed' AND payload -> 'keys' ? ('l:' || lower(was.username));

  UPDATE django_admin_log l SET object_repr = '[erased]', change_message = ''
    FROM django_content_type t
    WHERE t.id = l.content_type_id AND (
      ((t.app_label, t.model) = ('approvals', 'user') AND l.object_id = person::text)
      OR EXISTS (SELECT FROM unnest(words) word WHERE word <> ''
        AND strpos(lower(l.object_repr || ' ' || l.change_message), lower(word)) > 0));
  RETURN made;
END $$;
REVOKE EXECUTE ON FUNCTION approvals_erase_person(bigint, text[]) FROM PUBLIC;
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("approvals", "0003_signins_exports"),
        ("audit", "0004_erasure"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("account", "0001_initial"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations: ClassVar = [
        erasable("approvals_accessrequest", "request||request_id"),
        erasable("approvals_decision", "decision||request_id,revision"),
        erasable("approvals_grantevent", "grant_event||request_id,kind,@started_at"),
        erasable("approvals_notice", "request|notice.|request_id", "user|notice.|recipient_id"),
        erasable("approvals_signin", "sign_in||uid"),
        erasable("approvals_reportexport", "report_export||uid"),
        *(erasable(f"approvals_historical{name}", f"{name}||id") for name in HISTORIES),
        migrations.RunSQL(PERSON, "DROP FUNCTION approvals_erase_person(bigint, text[]);"),
    ]
