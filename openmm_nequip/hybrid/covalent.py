"""Covalent radii and the default length of a link bond.

References
----------
Pyykkö, Atsumi, Chem. Eur. J. 15 (2009) 186-197, doi:10.1002/chem.200800987: self-consistent single-bond covalent
radii of the elements 1-118.  The published values are used as they are; openmm-ml 1.8 takes metals 10 % smaller
(and P and S 1 pm smaller), which changes no link from C, N or O.
"""

from openmm.app import Element

#: Single-bond covalent radii in pm; the place in the table is the atomic number.
RADII_PM = (
    0,
    *(32, 46),
    *(133, 102, 85, 75, 71, 63, 64, 67),
    *(155, 139, 126, 116, 111, 103, 99, 96),
    *(196, 171, 148, 136, 134, 122, 119, 116, 111, 110, 112, 118, 124, 121, 121, 116, 114, 117),
    *(210, 185, 163, 154, 147, 138, 128, 125, 125, 120, 128, 136, 142, 140, 140, 136, 133, 131),
    *(232, 196, 180, 163, 176, 174, 173, 172, 168, 169, 168, 167, 166, 165, 164, 170, 162),
    *(152, 146, 137, 131, 129, 122, 123, 124, 133, 144, 144, 151, 145, 147, 142),
    *(223, 201, 186, 175, 169, 170, 171, 172, 166, 166, 168, 168, 165, 167, 173, 176, 161),
    *(157, 149, 143, 141, 134, 129, 128, 121, 122, 136, 143, 162, 175, 165, 157),
)


def element_by_symbol(symbol: str) -> Element:
    """Return the element of a symbol.

    Parameters
    ----------
    symbol : str
        Chemical symbol, for example ``"H"``.

    Returns
    -------
    openmm.app.Element

    Raises
    ------
    ValueError
        If no element has this symbol.
    """
    try:
        return Element.getBySymbol(symbol)
    except (KeyError, AttributeError, TypeError):
        raise ValueError(
            f"linkElement is {symbol!r}, which is no chemical symbol. Expected one like 'H' or 'F'; "
            "give the symbol of an element that the model knows."
        ) from None


def link_distance(q_element: Element, link_element: Element) -> float:
    """Default distance of a cap from its Q1, the sum of two covalent radii.

    Parameters
    ----------
    q_element, link_element : openmm.app.Element
        Element of Q1 and of the cap.

    Returns
    -------
    float
        Distance in nm; 0.107 for a hydrogen on carbon.
    """
    return (RADII_PM[q_element.atomic_number] + RADII_PM[link_element.atomic_number]) / 1000.0
