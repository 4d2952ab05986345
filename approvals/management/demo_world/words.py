"""What people write: reasons, tickets, comments. One list for each thing that is asked for."""

#: Why reviewers kept access, and why one removed it.
KEPT = (
    "Needs it for the work of this week.",
    "On support rotation until Friday.",
    "Works on the returns release, as planned.",
    "Asked; still needed today.",
)
REMOVED = "He works on the migration now and reads the copy on staging."
#: Reasons of those whose access to reports is under review today.
REASONS_TODAY = (
    "Collect who had access to orders-db for the refund incident.",
    "Prepare evidence of schema changes for the external auditor.",
    "Check our on-call access against the rota of last month.",
)

REASONS = {
    "read": (
        "Customer says order {n} was charged twice; look at its payments.",
        "Check whether the nightly import of {day} is complete.",
        "Support escalation for order {n}: find out where it is stuck.",
        "Count refunds per country for the weekly review.",
        "Reproduce the rounding error that QA saw on order {n}.",
        "Compare order totals with the ledger for {day}.",
        "Find customers who got two confirmation mails.",
        "Look up why order {n} never left “paid”.",
        "Slow query on the refunds page: read the plan against real rows.",
        "Sanity check before the release of the new returns flow.",
        "Answer a question of finance about {day}.",
        "Verify yesterday's fix on real orders.",
    ),
    "read-write": (
        "Set order {n} back to “paid” so that the warehouse picks it up again.",
        "Reprocess stuck refunds of {day}.",
        "Correct the address of a customer who cannot do it in the app (order {n}).",
        "Close duplicate refunds that the retry on {day} made.",
        "Backfill the missing note on returned orders.",
        "Fix the currency of {k} orders that were imported wrongly.",
        "Merge two accounts of the same customer, confirmed by support.",
        "Undo the bulk status change of {day}.",
        "Remove test orders that slipped into production.",
    ),
    "owner": (
        "Add an index on refunds(refunded_at); the page times out.",
        "Run the migration that splits notes from orders, reviewed by the team.",
        "Rebuild the bloated orders_customer index in the quiet hour.",
        "Add the column for the new return reasons before the release.",
        "Rotate card tokens after the processor's incident notice.",
        "Drop the partition that retention says must go by {day}.",
    ),
    "report-reader": (
        "Prepare evidence for the quarterly review of privileged access.",
        "Collect who had access to orders-db for the incident of {day}.",
        "The auditor asks for approval decisions of the last quarter.",
        "Check how long removals took after the maintenance on {day}.",
    ),
}

APPROVALS = (
    "", "", "", "", "Fine.", "Go ahead.", "Seen the ticket, makes sense.", "OK for this once.",
    "Please note what you change in the ticket.", "Agreed in stand-up.",
)  # fmt: skip

DENIALS = (
    "Read access is enough for that. Please ask for read.",
    "Not during the release freeze. Ask again tomorrow.",
    "Which order is this about? Ask again with the number.",
    "Support has a tool for this; no need to touch the database.",
    "Eight hours is too long for one row. Ask for half an hour.",
    "There is no ticket that I can find for this.",
)

WITHDRAWALS = (
    "Not needed any more, support has solved it.",
    "Asked for the wrong role.",
    "Will do it together with Priya tomorrow.",
    "",
)

#: What approvers asked before they decided, and what was answered.
QUESTIONS = (
    (
        "Which rows will you change, and how do we get back if it goes wrong?",
        "Only those of the ticket. I save them to a table beside first; the ticket has the query.",
    ),
    (
        "Can this wait for the read replica to catch up?",
        "No, the customer is on the phone. It is two rows.",
    ),
)
#: Why approvers handed a request over.
HANDED = "I am in interviews all afternoon; Sofia knows this data."
HANDED_TODAY = "Boarding now, back tonight. You know what the auditors want to see."
OWN_TODAY = "It is my own change, and the release can't wait."
QUESTION_TODAY = "Does the release need the column at once, or can it go in tonight's quiet hour?"

RETURNS = ("Done.", "Finished early.", "", "", "All corrected, thanks.")

REVOCATIONS = (
    "The release is over; please work on staging again.",
    "Incident closed, access not needed any more.",
    "You are on leave from noon, so I end this now.",
)

TICKETS = {"eng": "PAY", "sre": "OPS", "data-owners": "DATA", "analysts": "ANA"}
