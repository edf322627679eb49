"""What models read of a client's profile."""

from __future__ import annotations

from recsys.domain import LegalForm, Profile, Size


def traits_of(profile: Profile | None) -> tuple[str, ...]:
    """The known facts of a profile as ``key=value`` strings, in a fixed order.

    Args:
        profile: The profile, or None when nothing is known.

    Returns:
        One string per known fact; unknown facts are left out, so that "unknown" is nobody's segment.

    Example:
        >>> traits_of(Profile(size=Size.MICRO, industry="G", tags=("crm=none",)))
        ('size=micro', 'industry=G', 'crm=none')
    """
    if profile is None:
        return ()
    facts = (
        ("size", None if profile.size is Size.UNKNOWN else profile.size.value),
        ("industry", profile.industry),
        ("stage", None if profile.stage is None else profile.stage.value),
        ("region", profile.region),
        (
            "legal_form",
            None if profile.legal_form is LegalForm.UNKNOWN else profile.legal_form.value,
        ),
    )
    return tuple(f"{key}={value}" for key, value in facts if value is not None) + profile.tags
