# A stand-in for those functions of nixpkgs' library that the module uses, so that the module is evaluated without
# nixpkgs. Unlike there, what is wrong (unknown options, types, conflicts) becomes a list of texts.
let
  inherit (builtins)
    all
    any
    attrNames
    concatLists
    concatMap
    concatStringsSep
    elem
    filter
    foldl'
    head
    isAttrs
    isBool
    isFloat
    isFunction
    isInt
    isList
    isPath
    isString
    length
    listToAttrs
    map
    match
    removeAttrs
    stringLength
    substring
    tail
    toJSON
    ;

  isKind = kind: value: isAttrs value && (value._type or "") == kind;

  # Definitions of one option inside one module's `config`. Conditions are not looked at before the path is known to
  # lead somewhere: they may depend on other options.
  definitions =
    path: value:
    if isKind "if" value && path == [ ] && !value.condition then
      [ ]
    else if isKind "if" value then
      map (d: d // { active = value.condition && d.active; }) (definitions path value.content)
    else if isKind "merge" value then
      concatMap (definitions path) value.contents
    else if isKind "override" value then
      map (d: d // { inherit (value) priority; }) (definitions path value.content)
    else if path == [ ] then
      [
        {
          active = true;
          priority = 100;
          inherit value;
        }
      ]
    else if isAttrs value && value ? ${head path} then
      definitions (tail path) value.${head path}
    else
      [ ];

  strongest =
    found:
    let
      active = filter (d: d.active) found;
      best = foldl' (least: d: if d.priority < least then d.priority else least) 1000 active;
    in
    map (d: d.value) (filter (d: d.priority == best) active);

  good = value: {
    inherit value;
    errors = [ ];
  };
  bad = value: text: {
    inherit value;
    errors = [ text ];
  };

  # A type says whether a value fits, and what several definitions amount to.
  plain = name: check: {
    inherit name check;
    merge =
      path: values:
      if !(all check values) then
        bad (head values) "The option `${path}' is not of type `${name}': ${
          toJSON (head (filter (v: !(check v)) values))
        }"
      else if any (v: v != head values) values then
        bad (head values) "The option `${path}' has conflicting definition values: ${concatStringsSep ", " (map toJSON values)}"
      else
        good (head values);
  };

  together = parts: join: {
    value = join (map (part: part.value) parts);
    errors = concatMap (part: part.errors) parts;
  };

  optionsIn =
    path: tree:
    if isKind "option" tree then
      [
        {
          inherit path;
          option = tree;
        }
      ]
    else
      concatMap (name: optionsIn (path ++ [ name ]) tree.${name}) (attrNames tree);

  merged =
    trees:
    if any (isKind "option") trees then
      head trees
    else
      listToAttrs (
        map (name: {
          inherit name;
          value = merged (map (tree: tree.${name}) (filter (tree: tree ? ${name}) trees));
        }) (concatMap attrNames trees)
      );

  # What is set below `tree` without being an option of it.
  strangers =
    path: tree: value:
    if isKind "option" tree then
      [ ]
    else if isKind "if" value then
      if value.condition then strangers path tree value.content else [ ]
    else if isKind "merge" value then
      concatMap (strangers path tree) value.contents
    else if isKind "override" value then
      strangers path tree value.content
    else
      concatMap (
        name:
        let
          here = path ++ [ name ];
        in
        if tree ? ${name} then
          strangers here tree.${name} value.${name}
        else
          [ "The option `${concatStringsSep "." here}' does not exist." ]
      ) (attrNames value);

  modulesOf =
    args: module:
    let
      read = if isPath module then import module else module;
      content = if isFunction read then read args else read;
    in
    concatMap (modulesOf args) (content.imports or [ ])
    ++ [
      {
        options = content.options or { };
        config =
          content.config or (removeAttrs content [
            "imports"
            "options"
          ]);
      }
    ];

  setAt = path: value: if path == [ ] then value else { ${head path} = setAt (tail path) value; };
  getAt = path: tree: if path == [ ] then tree else getAt (tail path) tree.${head path};

  lib = rec {
    inherit elem concatStringsSep;

    mkOption = option: option // { _type = "option"; };
    mkEnableOption =
      what:
      mkOption {
        type = types.bool;
        default = false;
        description = "Whether to enable ${what}.";
      };
    mkIf = condition: content: {
      _type = "if";
      inherit condition content;
    };
    mkMerge = contents: {
      _type = "merge";
      inherit contents;
    };
    mkOverride = priority: content: {
      _type = "override";
      inherit priority content;
    };
    mkForce = mkOverride 50;
    literalExpression = text: text;

    optional = wanted: value: if wanted then [ value ] else [ ];
    optionals = wanted: values: if wanted then values else [ ];
    optionalAttrs = wanted: values: if wanted then values else { };
    filterAttrs = keep: set: removeAttrs set (filter (name: !(keep name set.${name})) (attrNames set));
    hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
    getExe = package: "${package}/bin/${package.meta.mainProgram}";
    genAttrs =
      names: value:
      listToAttrs (
        map (name: {
          inherit name;
          value = value name;
        }) names
      );

    mkRenamedOptionModule =
      from: to:
      { options, config, ... }:
      {
        options = setAt from (mkOption {
          type = types.anything;
        });
        config = setAt to (mkIf (getAt from options).isDefined (getAt from config));
      };

    types = rec {
      bool = plain "boolean" isBool;
      str = plain "string" isString;
      package = plain "package" (value: isAttrs value && value ? outPath);
      path = plain "path" (value: isPath value || isString value);
      port = ints.between 0 65535;
      ints.between =
        least: most:
        plain "integer between ${toString least} and ${toString most}" (
          value: isInt value && value >= least && value <= most
        );
      numbers.between =
        least: most:
        plain "number between ${toString least} and ${toString most}" (
          value: (isInt value || isFloat value) && value >= least && value <= most
        );
      strMatching =
        pattern:
        plain "string matching the pattern ${pattern}" (
          value: isString value && match pattern value != null
        );
      enum = values: plain "one of ${toJSON values}" (value: elem value values);
      either =
        first: second:
        plain "${first.name} or ${second.name}" (value: first.check value || second.check value);
      nullOr = inner: {
        name = "null or ${inner.name}";
        check = value: value == null || inner.check value;
        merge =
          path: values: if all (value: value == null) values then good null else inner.merge path values;
      };
      listOf = inner: {
        name = "list of ${inner.name}";
        check = value: isList value && all inner.check value;
        merge =
          path: values:
          if all isList values then
            together (map (value: inner.merge path [ value ]) (concatLists values)) (parts: parts)
          else
            (plain "list of ${inner.name}" isList).merge path values;
      };
      attrsOf = inner: {
        name = "attribute set of ${inner.name}";
        check = isAttrs;
        merge =
          path: values:
          if !(all isAttrs values) then
            (plain "attribute set of ${inner.name}" isAttrs).merge path values
          else
            let
              names = attrNames (foldl' (all: value: all // value) { } values);
              part = name: inner.merge "${path}.${name}" (strongest (concatMap (definitions [ name ]) values));
            in
            together (map part names) (
              parts:
              listToAttrs (
                builtins.genList (index: {
                  name = builtins.elemAt names index;
                  value = builtins.elemAt parts index;
                }) (length names)
              )
            );
      };
      anything = {
        name = "anything";
        check = _: true;
        merge =
          path: values:
          if values != [ ] && all isAttrs values && !(any (value: value ? outPath) values) then
            (attrsOf anything).merge path values
          else if values != [ ] && all isList values then
            good (concatLists values)
          else
            (plain "anything" (_: true)).merge path values;
      };
      # Attribute sets with these options and no others.
      among = options: {
        name = "submodule";
        check = isAttrs;
        merge =
          path: values:
          let
            result = (attrsOf anything).merge path values;
            strange = filter (name: !(elem name options)) (attrNames result.value);
          in
          if result.errors == [ ] && strange != [ ] then
            bad result.value "The option `${path}.${head strange}' does not exist."
          else
            result;
      };
    };

    evalModules =
      { modules, specialArgs }:
      let
        args = specialArgs // {
          inherit config options lib;
        };
        loaded = concatMap (modulesOf args) modules;
        tree = merged (map (module: module.options) loaded);
        evaluate =
          { path, option }:
          let
            values = strongest (concatMap (module: definitions path module.config) loaded);
            name = concatStringsSep "." path;
          in
          {
            inherit path;
            isDefined = values != [ ];
            result =
              if values != [ ] then
                option.type.merge name values
              else
                good (option.default or (throw "The option `${name}' is used but not defined."));
          };
        evaluated = map evaluate (optionsIn [ ] tree);
        nest = value: foldl' recursiveUpdate { } (map (one: setAt one.path (value one)) evaluated);
        recursiveUpdate =
          a: b:
          a
          // builtins.mapAttrs (
            name: value:
            if a ? ${name} && isAttrs value && isAttrs a.${name} && !(value ? leaf) then
              recursiveUpdate a.${name} value
            else
              value
          ) b;
        wrapped = nest (one: {
          leaf = one;
        });
        unwrap =
          field: node: if node ? leaf then field node.leaf else builtins.mapAttrs (_: unwrap field) node;
        config = unwrap (one: one.result.value) wrapped;
        options = unwrap (one: { inherit (one) isDefined; }) wrapped;
      in
      {
        inherit config;
        errors =
          concatMap (module: strangers [ ] tree module.config) loaded
          ++ concatMap (one: if one.isDefined then one.result.errors else [ ]) evaluated;
      };
  };
in
lib
