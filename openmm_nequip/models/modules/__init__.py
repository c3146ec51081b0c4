"""Potentials that are modules: what they take and give is declared, and one adapter calls them all.

:mod:`.module_interface` is the declaration, :mod:`.arguments` makes what a module is called with, :mod:`.module_model`
the :class:`~openmm_nequip.models.base.Model` around it, :mod:`.first_use` what is checked before it is believed, and
:mod:`.callables` where functions of Python programs are found again.
"""
