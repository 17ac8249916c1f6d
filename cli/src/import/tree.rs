//! A message in the making: values put at paths, in the order in which they come.

/// JSON, or an object of more of it.
enum Node {
    Json(String),
    Object(Tree),
}

/// An object.
#[derive(Default)]
pub(crate) struct Tree(Vec<(String, Node)>);

impl Tree {
    /// Puts JSON at a path, in the place of what was there.
    pub(crate) fn put(&mut self, path: &[String], json: String) {
        let [name, rest @ ..] = path else { return };
        let found = self.0.iter().position(|(known, _)| known == name);
        let place = found.unwrap_or_else(|| {
            self.0.push((name.clone(), Node::Object(Tree::default())));
            self.0.len() - 1
        });
        let node = &mut self.0[place].1;
        match (rest.is_empty(), &mut *node) {
            (true, _) => *node = Node::Json(json),
            (false, Node::Object(tree)) => tree.put(rest, json),
            (false, Node::Json(_)) => {
                let mut tree = Tree::default();
                tree.put(rest, json);
                *node = Node::Object(tree);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The whole as JSON.
    pub(crate) fn write(&self, out: &mut String) {
        out.push('{');
        for (at, (name, node)) in self.0.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            out.push_str(&serde_json::Value::from(name.as_str()).to_string());
            out.push(':');
            match node {
                Node::Json(json) => out.push_str(json),
                Node::Object(tree) => tree.write(out),
            }
        }
        out.push('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_where_they_were_put() {
        let mut tree = Tree::default();
        for (path, json) in [("a", "1"), ("b.c", "2"), ("b.d.e", "3"), ("a", "4"), ("b.c", "null"), ("a.x", "5")] {
            let path: Vec<String> = path.split('.').map(str::to_owned).collect();
            tree.put(&path, json.to_owned());
        }
        let mut out = String::new();
        tree.write(&mut out);
        assert_eq!(out, r#"{"a":{"x":5},"b":{"c":null,"d":{"e":3}}}"#);
    }
}
