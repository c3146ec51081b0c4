"""A small CP2K input, with parts that tests exchange."""

WATER = """&GLOBAL
  PROJECT water
  RUN_TYPE MD
&END GLOBAL
&MOTION
  &MD
    ENSEMBLE NVT
    STEPS 4
    TEMPERATURE 310
    TIMESTEP 0.5
    &THERMOSTAT
      TYPE CSVR
      &CSVR
        TIMECON 50
      &END
    &END
  &END MD
&END MOTION
&FORCE_EVAL
  METHOD FIST
  &MM
    &FORCEFIELD
      &NONBONDED
        &NEQUIP
          ATOMS O H
          MODEL_TYPE NEQUIP
          POT_FILE_NAME tiny.nequip.pth
          UNIT_ENERGY eV
          UNIT_FORCES eV*angstrom^-1
          UNIT_LENGTH angstrom
        &END NEQUIP
      &END NONBONDED
    &END FORCEFIELD
    &POISSON
      &EWALD
        EWALD_TYPE none
      &END EWALD
    &END POISSON
  &END MM
  &SUBSYS
    &CELL
      ABC 9.0 9.5 10.0
    &END CELL
    &COORD
      O 0.0 0.0 0.0
      H 0.96 0.0 0.0
      H -0.24 0.93 0.0
    &END COORD
  &END SUBSYS
&END FORCE_EVAL
"""
