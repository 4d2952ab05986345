"""What a form must ask for when somebody configures a resource or an entitlement."""

from approvals.connectors import registry
from approvals.connectors.protocol import ConnectorError
from approvals.connectors.protocol import Field as Field


def resource_fields(connector_key: str) -> tuple[Field, ...]:
    """Return every setting of a resource of this kind; none where there is no such connector."""
    try:
        return registry.get(connector_key).resource_fields
    except ConnectorError:
        return ()


def entitlement_fields(connector_key: str) -> tuple[Field, ...]:
    """Return every setting of an entitlement there; none where there is no such connector."""
    try:
        return registry.get(connector_key).entitlement_fields
    except ConnectorError:
        return ()
